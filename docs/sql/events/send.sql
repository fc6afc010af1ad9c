-- Insert an event; no row when its external id has been used within the window.
-- Parameters: :id uuid, :name text, :data jsonb, :external_id text, :source uuid, :closed jsonb, :traceparent text
INSERT INTO taskqueue_event (id, name, data, external_id, unique_id, source_id, received_at, closed, traceparent)
VALUES (
    :id::uuid, :name::text, :data::jsonb, :external_id::text, :external_id::text, :source::uuid,
    statement_timestamp(), :closed::jsonb, :traceparent::text
)
ON CONFLICT DO NOTHING
RETURNING id;
