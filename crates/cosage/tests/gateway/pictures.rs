//! Pictures that the service takes of real VNC servers, by way of the gateway's dial.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cosage::desktop::StreamKey;
use cosage::desktop::camera::{Camera, Occasion};
use cosage::desktop::end::EndReason;
use cosage::desktop::lease::{Lease, Release};
use cosage::engine::{Endpoint, Instance, InstanceId, Protocol, VncPassword};
use cosage::gateway::{Gateway, GatewaySettings, probe};
use cosage::pictures::{Album, Format, KEPT_WIDTH, PictureError, Pictures, Shape};
use rfb::client::{Client, Sharing};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::support::{PATIENCE, Program, Xvnc, accept, endpoint, listener};

const WHOLE: Shape = Shape {
    format: Format::Png,
    width: None,
};

/// One desktop, and somewhere to keep pictures of it.
struct Studio {
    pictures: Pictures,
    instance: Arc<Instance>,
    endpoint: Endpoint,
    ended: watch::Sender<Option<EndReason>>,
    _data: TempDir,
}

impl Studio {
    fn new(endpoint: Endpoint, password: Option<&str>) -> Self {
        let instance = Instance {
            id: InstanceId::random(),
            uid: "desktop".parse().unwrap(),
            app: "test".to_owned(),
            key: StreamKey(11000),
            endpoints: BTreeMap::new(),
            password: password.map(VncPassword::new),
            callback: None,
            home_is_new: false,
            started_at: "2024-01-01T00:00:00Z".parse().unwrap(),
            own_timeout: None,
        };
        let data = tempfile::tempdir().unwrap();
        let album = Album::open(data.path()).unwrap();
        Self {
            pictures: Pictures::new(Gateway::new(GatewaySettings::default()), album),
            instance: Arc::new(instance),
            endpoint,
            ended: watch::Sender::new(None),
            _data: data,
        }
    }

    fn lease(&self) -> Lease {
        Lease::new(
            Arc::clone(&self.instance),
            self.endpoint.clone(),
            self.ended.subscribe(),
            Release::nothing(),
        )
    }

    async fn live(&self) -> Result<image::RgbImage, PictureError> {
        let picture = self.pictures.live(self.lease(), WHOLE).await?;
        Ok(image::load_from_memory(&picture.file).unwrap().into_rgb8())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_desktop_with_a_password_is_pictured_beside_its_viewers_also_after_it_was_resized() {
    let Some(xvnc) = Xvnc::start(Some("secret12")).await else {
        return;
    };
    let endpoint = endpoint(xvnc.address, Protocol::Rfb);
    let password = VncPassword::new("secret12");
    let ready = probe::ready(&endpoint, Some(&password));
    timeout(PATIENCE, ready).await.unwrap();
    let stream = TcpStream::connect(xvnc.address).await.unwrap();
    let mut viewer = Client::start(stream, Some("secret12"), Sharing::Shared)
        .await
        .unwrap();

    let studio = Studio::new(endpoint, Some("secret12"));
    assert_eq!(studio.live().await.unwrap().dimensions(), (320, 200));
    viewer.set_desktop_size(401, 303).await.unwrap();
    viewer.full_picture().await.unwrap();
    // What others were given a moment ago is not given for ever.
    let resized = async {
        while studio.live().await.unwrap().dimensions() != (401, 303) {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, resized).await.unwrap();
    // The viewer was not disconnected.
    viewer.full_picture().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_desktop_behind_websockify_is_pictured() {
    let Some(xvnc) = Xvnc::start(None).await else {
        return;
    };
    let (held, address) = listener().await;
    drop(held);
    let mut command = Command::new("websockify");
    command.args([address.to_string(), xvnc.address.to_string()]);
    let Some(_websockify) = Program::start(&mut command) else {
        return;
    };
    let endpoint = endpoint(address, Protocol::Websocket);
    timeout(PATIENCE, probe::ready(&endpoint, None))
        .await
        .unwrap();
    let studio = Studio::new(endpoint, None);
    assert_eq!(studio.live().await.unwrap().dimensions(), (320, 200));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_picture_is_kept_until_it_is_forgotten() {
    let Some(xvnc) = Xvnc::start(None).await else {
        return;
    };
    // A server elsewhere, as far as the service knows.
    let studio = Studio::new(endpoint(xvnc.address, Protocol::Tcp), None);
    let uid = studio.instance.uid.clone();
    assert_eq!(studio.pictures.kept(&uid), None);

    let taken = studio
        .pictures
        .keep(studio.lease(), Occasion::Left, PATIENCE)
        .await;
    assert!(taken.is_some());
    let last = studio.pictures.last(&uid, WHOLE).await.unwrap().unwrap();
    assert_eq!(Some(last.taken_at), taken);
    let image = image::load_from_memory(&last.file).unwrap();
    assert!(image.width() == 320 && image.width() <= KEPT_WIDTH);
    assert_eq!(studio.pictures.kept(&uid), taken);

    // It has ended: nobody knows whose address it is, unless it is there until its picture was taken.
    studio.ended.send_replace(Some(EndReason::Stopped));
    assert_eq!(studio.live().await, Err(PictureError::Ended));
    for (occasion, is_taken) in [(Occasion::Looking, false), (Occasion::Stopping, true)] {
        let taken = studio.pictures.keep(studio.lease(), occasion, PATIENCE);
        assert_eq!(taken.await.is_some(), is_taken, "{occasion:?}");
    }

    studio.pictures.forget(&uid).await;
    assert_eq!(studio.pictures.kept(&uid), None);
    let last = studio.pictures.last(&uid, WHOLE).await;
    assert_eq!(last, Ok(None));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_is_given_up_in_time() {
    let (_held, address) = listener().await;
    let studio = Studio::new(endpoint(address, Protocol::Rfb), None);
    assert_eq!(studio.live().await, Err(PictureError::Timeout));
    let taken = studio.pictures.keep(
        studio.lease(),
        Occasion::Stopping,
        Duration::from_millis(500),
    );
    assert_eq!(timeout(PATIENCE, taken).await.unwrap(), None);
}

#[tokio::test]
async fn what_is_no_vnc_server_is_said() {
    let (held, address) = listener().await;
    let studio = Studio::new(endpoint(address, Protocol::Tcp), None);
    let (seen, ()) = tokio::join!(studio.live(), async {
        let mut stream = accept(&held).await;
        stream.write_all(b"SSH-2.0-OpenSSH_10.0\r\n").await.unwrap();
    });
    let error = seen.unwrap_err();
    assert!(matches!(error, PictureError::Unreachable(_)), "{error:?}");
    // The next who asks within a second gets the same answer, and the server is left alone.
    assert_eq!(studio.live().await, Err(error));
}
