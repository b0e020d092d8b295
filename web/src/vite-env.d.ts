/// <reference types="vite/client" />

/** Made by `build/licences.ts`: the address of a text. */
declare module "virtual:licences" {
  const address: string;
  export default address;
}
