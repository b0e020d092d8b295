// Where this page is on its host. The console may be below any path that a proxy chose, which neither the build nor the
// service knows: each page says in `data-base` how far up from it the console begins.

/** The console's own address, with a slash at its end. */
export const base = new URL(document.documentElement.dataset["base"] ?? "./", document.baseURI);

/** The address of something on the service, such as `api/vm`; never with a slash in front. */
export const address = (path: string): string => new URL(path, base).href;

/** The address of a desktop's page. */
export const viewAddress = (uid: string): string => address(`view/${encodeURIComponent(uid)}`);
