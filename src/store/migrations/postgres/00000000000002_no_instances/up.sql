-- Only SQLite ever had the table; the number is kept.
SELECT 1;
