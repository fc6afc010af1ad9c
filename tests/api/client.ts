// A program that another team might write: it uses the types that a generator made of the schema. See test_clients.

import type { components } from "./api.js";

type Submission = components["schemas"]["TaskSubmission"];
type Task = components["schemas"]["SubmittedTask"];
type Progress = components["schemas"]["TaskProgress"];
type Problem = components["schemas"]["Problem"];

const [base, token] = process.argv.slice(2);

async function call<T>(path: string, body?: unknown): Promise<[number, T]> {
  const answer = await fetch(`${base}${path}`, {
    method: body === undefined ? "GET" : "POST",
    headers: { "Content-Type": "application/json", Authorization: `Bearer ${token}` },
    body: body === undefined ? null : JSON.stringify(body),
  });
  return [answer.status, (await answer.json()) as T];
}

function expect(found: unknown, wanted: unknown): void {
  if (found !== wanted) throw new Error(`${String(found)} is not ${String(wanted)}`);
}

// The calls of the README, with nothing but what they need.
const order: Submission = { pipeline: "shop/fulfil", payload: { order_id: 42 } };
const hello: Submission = { pipeline: "demo/task", payload: { label: "hello" } };
// @ts-expect-error: the payload of another pipeline
const wrong: Submission = { pipeline: "shop/fulfil", payload: { label: "hello" } };

const [status, task] = await call<Task>("/api/tasks", order);
expect(status, 202);
const [, progress] = await call<Progress>(`/api/tasks/${task.id}/status`);
expect(progress.status, "queued");
expect((await call<Task>("/api/tasks", hello))[0], 202);

const [refused, problem] = await call<Problem>("/api/tasks", wrong);
expect(refused, 422);
expect(problem.code satisfies components["schemas"]["ProblemCode"], "invalid-payload");
