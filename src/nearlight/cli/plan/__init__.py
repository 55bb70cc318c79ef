"""`nearlight plan`: `command` reads flags, `report` answers, `text` lays the answers out; `listing` is of names."""
