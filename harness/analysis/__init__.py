"""Pictures of one finished trial, with the numbers behind them: ``harness analyze``. It reads no evaluation image."""
