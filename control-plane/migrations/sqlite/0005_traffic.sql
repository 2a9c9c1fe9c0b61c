-- When the plane accepted or delivered its first event since it enrolled, Unix milliseconds.
ALTER TABLE planes ADD COLUMN first_event_at BIGINT;
