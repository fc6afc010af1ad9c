-- Read the grants of pipelines, each with whether it is for the caller.
-- Parameters: :user unknown, :pipelines text[]
SELECT permission.pipeline_id,
    coalesce(permission.user_id = :user OR permission.group_id IN (SELECT relation."group_id" FROM "auth_user_groups" relation WHERE relation."user_id" = :user), false),
    permission.run, permission.view_payload, permission.retry, permission.cancel
FROM "taskqueue_pipelinepermission" permission
WHERE permission.pipeline_id = ANY (:pipelines::text[]);
