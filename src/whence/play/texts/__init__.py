"""Text in classes: messages, mail, and the words that decide."""
