"""The command line: config → objects → Trainer; the stages; the summary."""
