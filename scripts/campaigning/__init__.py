"""Parts of scripts/campaign: a queue of cells, each a spec with its search for settings, its run and its row of a table."""
