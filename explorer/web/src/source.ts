// Where stores come from: the server that this page came from, or a repository on the Hugging Face Hub.

import { fetchBytes } from "./checked_store";

export interface StoreEntry {
  task: string;
  policy: string;
  dynamics: string;
  url: string;
  manifestSha256?: string;
  /** Where the geometry of the robot is, if the source has it. */
  scene: string;
}

export interface Source {
  name: string;
  stores: StoreEntry[];
}

interface Config {
  repository?: string;
  revision?: string;
  endpoint?: string;
}

const ENDPOINT = "https://huggingface.co";
const LISTING_BYTES_MAX = 16 * 2 ** 20;
const REPOSITORY = /^[A-Za-z0-9][\w.-]{0,95}\/[A-Za-z0-9][\w.-]{0,95}$/;
const REVISION = /^[\w][\w./-]{0,199}$/;
const TASK = /^[A-Za-z][A-Za-z0-9]{0,63}$/;
const POLICY = /^[a-z0-9](?:[a-z0-9_.-]{0,62}[a-z0-9_-])?$/;

interface Listed {
  task: string;
  policy: string;
  dynamics: string;
  path: string;
  manifest_sha256?: string;
}

/** The source that the address (`?repo=ORG/NAME@REVISION`), or the page's `config.json`, names. */
export async function openSource(search: URLSearchParams): Promise<Source> {
  const config = (await json("config.json")) as Config;
  const wanted = search.get("repo") ?? config.repository;
  if (wanted) {
    const [repository, revision] = search.has("repo") ? wanted.split("@") : [wanted, config.revision];
    return openRepository(repository, revision ?? "main", config.endpoint ?? ENDPOINT);
  }
  const listing = (await json("stores.json")) as { root: string; stores: Listed[] };
  return { name: listing.root, stores: entries("data", listing.stores) };
}

async function openRepository(repository: string, revision: string, endpoint: string): Promise<Source> {
  if (!REPOSITORY.test(repository)) throw new Error(`"${repository}" is no repository; one is named as in ORG/NAME`);
  if (!REVISION.test(revision)) throw new Error(`"${revision}" is no revision; it is a branch, a tag or a commit`);
  const base = `${endpoint}/datasets/${repository}/resolve/${encodeURIComponent(revision)}`;
  const publication = (await json(`${base}/publication.json`)) as { format?: string; version?: number; stores: Listed[] };
  if (publication.format !== "dynamic-sparsity-publication" || publication.version !== 1)
    throw new Error(`${repository} holds no data that this page can read`);
  return { name: `${repository}@${revision}`, stores: entries(base, publication.stores) };
}

/** What was listed, as far as its names are possible ones: they alone say where the files are. */
function entries(base: string, listed: Listed[]): StoreEntry[] {
  return listed.flatMap(({ task, policy, dynamics, path, manifest_sha256: manifestSha256 }) => {
    const suffix = { converged: "", stock: "-stock" }[dynamics];
    if (!TASK.test(task) || !POLICY.test(policy) || path !== `${task}/${policy}${suffix}.zarr`) return [];
    return [{ task, policy, dynamics, url: `${base}/${path}`, scene: `scenes/${task}.json`, manifestSha256 }];
  });
}

async function json(url: string): Promise<unknown> {
  const bytes = await fetchBytes(url, undefined, LISTING_BYTES_MAX);
  return JSON.parse(new TextDecoder().decode(bytes));
}
