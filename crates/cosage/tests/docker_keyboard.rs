//! What is typed and clicked at a real desktop, as its application receives it.

#![expect(
    clippy::unwrap_used,
    reason = "a test may stop at what it does not expect"
)]

#[path = "support/process.rs"]
mod process;

use process::{PATIENCE, Scene, Service, Viewer, eventually};
use rfb::client::KeyState;

const KEYS: &str = r#"
[app.keys]
title = "Keys"
description = "Writes what is typed and clicked."
image = "cosage/keys-test:latest"
pull = "never"
password = true
sandbox = "user-namespaces"
memory = "256MiB"
stop_grace = "5s"

[app.keys.stream.vnc]
port = 5900
protocol = "rfb"
"#;

const SHIFT: u32 = 0xffe1;

/// The modifiers with their bits of X11's state: Control, Alt (Mod1) and Super (Mod4).
const MODIFIERS: [(u32, u32); 3] = [(0xffe3, 1 << 2), (0xffe9, 1 << 3), (0xffeb, 1 << 6)];

/// Keys that are no characters.
const NAMED: [(u32, &str); 31] = [
    (0x20, "space"),
    (0xff08, "BackSpace"),
    (0xff09, "Tab"),
    (0xff0d, "Return"),
    (0xff1b, "Escape"),
    (0xffff, "Delete"),
    (0xff50, "Home"),
    (0xff51, "Left"),
    (0xff52, "Up"),
    (0xff53, "Right"),
    (0xff54, "Down"),
    (0xff55, "Prior"),
    (0xff56, "Next"),
    (0xff57, "End"),
    (0xff67, "Menu"),
    (0xffaa, "KP_Multiply"),
    (0xffab, "KP_Add"),
    (0xffad, "KP_Subtract"),
    (0xffaf, "KP_Divide"),
    (0xffbe, "F1"),
    (0xffbf, "F2"),
    (0xffc0, "F3"),
    (0xffc1, "F4"),
    (0xffc2, "F5"),
    (0xffc3, "F6"),
    (0xffc4, "F7"),
    (0xffc5, "F8"),
    (0xffc6, "F9"),
    (0xffc7, "F10"),
    (0xffc8, "F11"),
    (0xffc9, "F12"),
];

/// A desktop whose application writes what reaches it, and a viewer.
struct Typing {
    scene: Scene,
    _service: Service,
    viewer: Viewer,
    /// How many lines were looked at already.
    seen: usize,
}

impl Typing {
    async fn new() -> Option<Self> {
        let scene = Scene::new()?;
        scene.write_catalog(KEYS);
        let service = scene.serve().await;
        let url = service.ensure("a", "keys").await;
        let viewer = Viewer::open(service.stream_address, &url).await.unwrap();
        let mut typing = Self {
            scene,
            _service: service,
            viewer,
            seen: 0,
        };
        typing.until("ready").await;
        Some(typing)
    }

    /// What the application wrote since the last time, up to the line `end`.
    async fn until(&mut self, end: &str) -> Vec<String> {
        let container = self.scene.container_name("a");
        let lines = eventually(PATIENCE, end, async || {
            let output = self.scene.docker(&["logs", &container]);
            let lines: Vec<_> = output.lines().skip(self.seen).map(str::to_owned).collect();
            let at = lines.iter().position(|line| line == end)?;
            Some(lines[..=at].to_vec())
        })
        .await;
        self.seen += lines.len();
        lines
    }

    /// What the application receives of what was typed until now.
    async fn received(&mut self) -> Vec<String> {
        self.viewer.pointer(100, 100, 1).await;
        self.viewer.pointer(100, 100, 0).await;
        self.until("button 0 1").await
    }

    /// Types a text without any pause, capital letters with Shift as keyboards do: the server takes an `A` without it
    /// for the sign of a Caps Lock.
    async fn type_at_once(&mut self, text: &str) {
        let mut strokes = Vec::new();
        for character in text.chars() {
            let keysym = match u32::from(character) {
                latin @ ..=0xff => latin,
                other => 0x0100_0000 | other,
            };
            let mut keys = vec![keysym];
            if character.is_uppercase() {
                keys.insert(0, SHIFT);
            }
            strokes.extend(keys.iter().map(|key| (*key, KeyState::Down)));
            strokes.extend(keys.iter().rev().map(|key| (*key, KeyState::Up)));
        }
        self.viewer.keys(&strokes).await;
    }

    async fn assert_arrives(&mut self, text: &str) {
        self.type_at_once(text).await;
        let lines = self.received().await;
        let arrived: String = lines
            .iter()
            .filter_map(|line| line.strip_prefix("text "))
            .collect();
        assert_eq!(arrived, text.replace(' ', ""));
    }
}

#[tokio::test]
async fn every_shortcut_reaches_the_application() {
    let Some(mut typing) = Typing::new().await else {
        return;
    };
    let characters = ('a'..='z').chain('0'..='9');
    let keys: Vec<(u32, String)> = characters
        .map(|character| (u32::from(character), character.to_string()))
        .chain(NAMED.map(|(keysym, name)| (keysym, name.to_owned())))
        .collect();
    for chosen in 0_u32..1 << MODIFIERS.len() {
        let held = MODIFIERS
            .iter()
            .enumerate()
            .filter(|(bit, _)| chosen & 1 << bit != 0);
        let held: Vec<_> = held.map(|(_, modifier)| *modifier).collect();
        let state: u32 = held.iter().map(|(_, bit)| bit).sum();
        for (keysym, _) in &held {
            typing.viewer.keys(&[(*keysym, KeyState::Down)]).await;
        }
        for (keysym, _) in &keys {
            typing
                .viewer
                .keys(&[(*keysym, KeyState::Down), (*keysym, KeyState::Up)])
                .await;
        }
        for (keysym, _) in held.iter().rev() {
            typing.viewer.keys(&[(*keysym, KeyState::Up)]).await;
        }
        let expected: Vec<_> = keys
            .iter()
            .map(|(_, name)| format!("key {state} {name}"))
            .collect();
        let mut received = typing.received().await;
        received.retain(|line| line.starts_with("key ") && !line.ends_with("_L"));
        assert_eq!(received, expected);
    }
}

#[tokio::test]
async fn a_click_with_modifiers_reaches_the_application() {
    let Some(mut typing) = Typing::new().await else {
        return;
    };
    for (keysym, state) in MODIFIERS {
        typing.viewer.keys(&[(keysym, KeyState::Down)]).await;
        for button in 1..=3 {
            typing.viewer.pointer(200, 200, 1 << (button - 1)).await;
            typing.viewer.pointer(200, 200, 0).await;
            typing.until(&format!("button {state} {button}")).await;
        }
        typing.viewer.keys(&[(keysym, KeyState::Up)]).await;
    }
}

#[tokio::test]
async fn text_of_any_script_arrives_as_it_was_typed_at_any_speed() {
    let Some(mut typing) = Typing::new().await else {
        return;
    };
    // The first two symbols that the keyboard does not have, and nothing before them.
    typing.assert_arrives("ЖЩ").await;
    for text in [
        "Съешь же ещё этих мягких французских булок, да выпей чаю. СЪЕШЬ ЖЕ ЕЩЁ ЭТИХ БУЛОК",
        "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία",
        "דג סקרן שט בים מאוכזב ולפתע מצא לו חברה",
        "نص حكيم له سر قاطع وذو شأن عظيم مكتوب على ثوب أخضر",
        "เป็นมนุษย์สุดประเสริฐเลิศคุณค่า",
        "Zażółć gęślą jaźń, Příliš žluťoučký kůň, Đặng Thị Hồng",
        "いろはにほへと ちりぬるを わかよたれそ つねならむ",
        "視野無限廣，窗外有藍天",
        "😀🎉🚀 naïve – “quotes” € ¿Qué? ½",
    ] {
        typing.assert_arrives(text).await;
    }
}

/// More than the server has free keycodes for, and the same once more.
#[tokio::test]
async fn more_symbols_than_the_keyboard_has_room_for_arrive_as_they_were_typed() {
    let Some(mut typing) = Typing::new().await else {
        return;
    };
    let text: String = ('\u{4e00}'..).take(250).collect();
    for _ in 0..2 {
        typing.assert_arrives(&text).await;
    }
}
