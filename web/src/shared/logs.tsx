// What a desktop wrote: the last lines are what is looked for.
import { useLayoutEffect, useRef } from "preact/hooks";

export function Logs({ text, label }: { text: string; label: string }) {
  const box = useRef<HTMLPreElement>(null);
  useLayoutEffect(() => {
    if (box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [text]);
  // Whoever has no mouse scrolls it by its focus.
  return (
    <pre ref={box} class="logs" tabIndex={0} role="region" aria-label={label}>
      {text}
    </pre>
  );
}
