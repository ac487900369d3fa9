//! One story of a database, told once whatever the database is, and what must hold when much happens at once.
