"""The panel's widgets: its sections, tables and boxes."""
