"""How relations and entities are put into words."""
