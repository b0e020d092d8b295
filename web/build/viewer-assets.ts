// Tells the launcher what the viewer's page loads, so that it can fetch that while a desktop still starts.
import type { Plugin } from "vite";

export function viewerAssets(): Plugin {
  return {
    name: "cosage-viewer-assets",
    apply: "build",
    transformIndexHtml: {
      order: "post",
      handler(html, { path, bundle }) {
        if (path !== "/index.html" || !bundle) return html;
        const files = new Set<string>();
        const collect = (file: string) => {
          const chunk = bundle[file];
          if (files.has(file) || chunk?.type !== "chunk") return;
          files.add(file);
          chunk.imports.forEach(collect);
          chunk.viteMetadata?.importedCss.forEach((sheet) => files.add(sheet));
        };
        for (const chunk of Object.values(bundle)) {
          if (chunk.type === "chunk" && chunk.isEntry && chunk.name === "viewer") collect(chunk.fileName);
        }
        return [{ tag: "meta", attrs: { name: "viewer-assets", content: [...files].join(" ") }, injectTo: "head" }];
      },
    },
  };
}
