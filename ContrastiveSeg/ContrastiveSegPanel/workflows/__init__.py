"""Work that the panel and scripts do: what goes to the engine and what comes back; no widgets."""
