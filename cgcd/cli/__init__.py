"""The command line: composes configs, builds the parts and hands them to the engine."""
