"""Files written whole or not at all, and answers over HTTP."""
