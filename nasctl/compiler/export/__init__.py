"""A cell as a folder that somebody drops into a project of their own, where there is torch and no nasctl."""
