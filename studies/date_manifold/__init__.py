"""Where does a language model hold a date as a circle? Supervised MDS with its null beside it."""
