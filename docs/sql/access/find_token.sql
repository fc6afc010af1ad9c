-- Find a token by its digest, with its user.
-- Parameters: :digest text, :use_recorded_every interval
WITH found ("token_id", "token_name", "token_user_id", "token_digest", "token_prefix", "token_per_minute", "token_created_at", "token_expires_at", "token_last_used_at", "token_revoked_at", "token_theoretical_arrival_at", "user_id", "user_password", "user_last_login", "user_is_superuser", "user_username", "user_first_name", "user_last_name", "user_email", "user_is_staff", "user_is_active", "user_date_joined") AS MATERIALIZED (
    SELECT "taskqueue_token"."id", "taskqueue_token"."name", "taskqueue_token"."user_id", "taskqueue_token"."digest", "taskqueue_token"."prefix", "taskqueue_token"."per_minute", "taskqueue_token"."created_at", "taskqueue_token"."expires_at", "taskqueue_token"."last_used_at", "taskqueue_token"."revoked_at", "taskqueue_token"."theoretical_arrival_at", "auth_user"."id", "auth_user"."password", "auth_user"."last_login", "auth_user"."is_superuser", "auth_user"."username", "auth_user"."first_name", "auth_user"."last_name", "auth_user"."email", "auth_user"."is_staff", "auth_user"."is_active", "auth_user"."date_joined" FROM "taskqueue_token" INNER JOIN "auth_user" ON ("taskqueue_token"."user_id" = "auth_user"."id") WHERE "taskqueue_token"."digest" = :digest::text
)
SELECT found.*, coalesce(token_expires_at <= statement_timestamp(), false),
    coalesce(token_last_used_at > statement_timestamp() - :use_recorded_every::interval, false),
    EXISTS (SELECT FROM "taskqueue_pipelinepermission"),
    NULL, NULL
FROM found;
