// The part of noVNC's documented interface (docs/API.md of the package) that the viewer uses, and at its end what
// `native-rfb.ts` overrides, which is documented nowhere.
declare module "@novnc/novnc" {
  export interface Credentials {
    username?: string;
    password?: string;
    target?: string;
  }

  export interface RfbEvents {
    bell: CustomEvent<unknown>;
    clipboard: CustomEvent<{ text: string }>;
    clippingviewport: CustomEvent<boolean>;
    connect: CustomEvent<unknown>;
    credentialsrequired: CustomEvent<{ types: (keyof Credentials)[] }>;
    disconnect: CustomEvent<{ clean: boolean }>;
    securityfailure: CustomEvent<{ status: number; reason?: string }>;
    serververification: CustomEvent<{ type: string; publickey?: Uint8Array<ArrayBuffer> }>;
  }

  export default class RFB {
    constructor(target: Element, channel: WebSocket, options?: { shared?: boolean; credentials?: Credentials });

    background: string;
    clipViewport: boolean;
    compressionLevel: number;
    dragViewport: boolean;
    focusOnClick: boolean;
    qualityLevel: number;
    resizeSession: boolean;
    scaleViewport: boolean;
    showDotCursor: boolean;
    viewOnly: boolean;

    addEventListener<Name extends keyof RfbEvents>(name: Name, listener: (event: RfbEvents[Name]) => void): void;
    approveServer(): void;
    blur(): void;
    clipboardPasteFrom(text: string): void;
    disconnect(): void;
    focus(options?: FocusOptions): void;
    getImageData(): ImageData;
    sendCredentials(credentials: Credentials): void;
    sendKey(keysym: number, code: string | null, down?: boolean): void;
    toBlob(callback: (blob: Blob | null) => void, type?: string): void;

    protected _display: { scale: number };
    protected _FBU: { x: number; y: number };
    protected _pendingRemoteResize: boolean;
    protected _handleExtendedDesktopSize(): boolean;
    protected _requestRemoteResize(): void;
    protected _screenSize(): { w: number; h: number };
    protected _updateClip(): void;
    protected _updateCursor(rgba: Uint8Array<ArrayBuffer>, hotX: number, hotY: number, w: number, h: number): void;
    protected _updateScale(): void;
  }
}
