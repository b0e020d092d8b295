// What a browser remembers of the console. A browser that keeps nothing (private windows, policies) throws.

export interface Kept {
  read(): string | null;
  write(value: string): void;
}

/** One remembered text: by the browser, or for as long as the tab is open. */
export function kept(name: string, where: "browser" | "tab" = "browser"): Kept {
  const key = `cosage.${name}`;
  const use = <T>(what: (storage: Storage) => T): T | null => {
    try {
      return what(where === "tab" ? sessionStorage : localStorage);
    } catch {
      return null;
    }
  };
  return {
    read: () => use((storage) => storage.getItem(key)),
    write: (value) => void use((storage) => storage.setItem(key, value)),
  };
}
