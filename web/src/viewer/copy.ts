// Copying a text that the page shows.
import { t } from "../shared/i18n.ts";
import { toast } from "../shared/toast.tsx";

/** Copies what is in a field, from inside of a gesture; selects it where the browser lets pages copy nothing. */
export async function copyField(field: HTMLInputElement | HTMLTextAreaElement): Promise<void> {
  try {
    await navigator.clipboard.writeText(field.value);
    toast(t("viewer.copied"));
  } catch {
    field.select();
    toast(t("viewer.copy.failed"));
  }
}

/** Has the browser save something under a name. */
export function save(what: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(what);
  link.download = name;
  link.click();
  // The browser has taken hold of it by then.
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
