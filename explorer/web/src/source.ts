// Where stores come from: the server that this page came from, or a repository on the Hugging Face Hub.

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
const REPOSITORY = /^[A-Za-z0-9][\w.-]*\/[A-Za-z0-9][\w.-]*$/;
const TASK = /^[A-Za-z][A-Za-z0-9]*$/;
const STORE = /^[A-Za-z][A-Za-z0-9]*\/[a-z0-9][a-z0-9_.-]*\.zarr$/;

/** The source that the address (`?repo=ORG/NAME@REVISION`), or the page's `config.json`, names. */
export async function openSource(search: URLSearchParams): Promise<Source> {
  const config = await json<Config>("config.json");
  const wanted = search.get("repo");
  if (wanted) {
    const [repository, revision] = wanted.split("@");
    return openRepository({ repository, revision, endpoint: search.get("endpoint") ?? config.endpoint });
  }
  if (config.repository) return openRepository(config);
  const listing = await json<{ root: string; stores: { task: string; policy: string; dynamics: string; path: string }[] }>(
    "stores.json",
  );
  return {
    name: listing.root,
    stores: listing.stores.map(({ path, ...store }) => ({
      ...store,
      url: `data/${path}`,
      scene: `scenes/${store.task}.json`,
    })),
  };
}

async function openRepository(config: Config): Promise<Source> {
  const { repository = "", revision = "main" } = config;
  const endpoint = config.endpoint ?? ENDPOINT;
  if (!REPOSITORY.test(repository)) throw new Error(`"${repository}" is no repository; one is named as in ORG/NAME`);
  if (!/^https?:\/\//.test(endpoint)) throw new Error(`"${endpoint}" is no address of a Hub`);
  const base = `${endpoint}/datasets/${repository}/resolve/${encodeURIComponent(revision)}`;
  const publication = await json<{ stores: (StoreEntry & { path: string; manifest_sha256: string })[] }>(
    `${base}/publication.json`,
  );
  const stores = publication.stores.filter((store) => TASK.test(store.task) && STORE.test(store.path));
  return {
    name: `${repository}@${revision}`,
    stores: stores.map((store) => ({
      task: store.task,
      policy: store.policy,
      dynamics: store.dynamics,
      url: `${base}/${store.path}`,
      manifestSha256: store.manifest_sha256,
      scene: `scenes/${store.task}.json`,
    })),
  };
}

async function json<T>(url: string): Promise<T> {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: the server answered ${response.status} ${response.statusText}`);
  return (await response.json()) as T;
}
