// What a browser remembers of the console. A browser that keeps nothing (private windows, policies) throws.

export interface Kept {
  read(): string | null;
  write(value: string): void;
  remove(): void;
}

/** One remembered text; `session` is forgotten with the tab. */
export function kept(name: string, where: "local" | "session" = "local"): Kept {
  const key = `cosage.${name}`;
  const use = <T>(what: (storage: Storage) => T): T | null => {
    try {
      return what(where === "local" ? localStorage : sessionStorage);
    } catch {
      return null;
    }
  };
  return {
    read: () => use((storage) => storage.getItem(key)),
    write: (value) => void use((storage) => storage.setItem(key, value)),
    remove: () => void use((storage) => storage.removeItem(key)),
  };
}
