"""nasctl: does a searched recurrent cell beat a well-tuned LSTM on your sentence pairs, and what did it cost?"""

__version__ = "0.1.0"
