"""The door to Optuna: what studies have asked for and been told, durable in one database.

Optuna's own ask commits each parameter by itself, and a kill in between leaves half a trial. Here a trial is drawn in a
copy of the study that lives in memory; its beginning and its end are one transaction each, written into Optuna's tables
directly (its own way takes 60 statements where 7 do). Optuna reads what is written here as its own. The sampler is made
anew for each ask from the study's seed and the trial's number, so that a study that was killed and reloaded goes on as
if nothing had happened.

A trial's user attributes: `digest` (its run), `record` (once it has ended), `failures` (the attempts that came to
nothing), `duplicate_of`, `retry_of` (the failed trial whose parameters it has). A study's: `identity`, `spec`,
`versions`, `in_flight`, `final`, `uid` (random; no other study has it), and in `left` how it stands while nobody
drives it: `finished`, `interrupted` or `failed`.
"""

from nasctl.tuning.study.asking import TrialStore
from nasctl.tuning.study.recorded import StoredStudy, StoredTrial, stored_study
from nasctl.tuning.study.store import StudyStore

__all__ = ["StoredStudy", "StoredTrial", "StudyStore", "TrialStore", "stored_study"]
