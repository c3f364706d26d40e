"""Models that read one token after another: RNN, LSTM, GRU."""
