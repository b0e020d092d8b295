//! Shares and takeovers.

use cosage::desktop::access::{Share, Takeover, Token};
use cosage::desktop::rights::{Clipboard, Rights, Role};
use cosage::store::StoreError;

use super::{Shared, at, create, uid};

pub(crate) fn share(desktop: &str, id: &str) -> Share {
    Share {
        id: id.to_owned(),
        uid: uid(desktop),
        rights: Rights::of(Role::View),
        created_at: at(0),
        expires: Some(at(1_000)),
    }
}

pub(crate) async fn a_share_comes_back_as_it_was_last(store: Shared) {
    create(&*store, "one", "firefox").await;
    let mut first = share("one", "b");
    let second = Share {
        expires: None,
        created_at: at(1),
        ..share("one", "a")
    };
    let (token, other) = (Token::random(), Token::random());
    store.add_share(&second, &other.hash()).await.unwrap();
    store.add_share(&first, &token.hash()).await.unwrap();
    first.rights = Rights {
        role: Role::Control,
        clipboard: Clipboard::Out,
    };
    store.change_share(&first).await.unwrap();
    let all = store.shares(&uid("one")).await.unwrap();
    assert_eq!(
        all,
        [first.clone(), second.clone()],
        "the oldest comes first"
    );
    let by_token = async |token: &Token| store.share_by_token(&token.hash()).await.unwrap();
    assert_eq!(by_token(&token).await, Some(first));
    assert_eq!(by_token(&other).await, Some(second));
    assert_eq!(by_token(&Token::random()).await, None);
}

pub(crate) async fn a_share_belongs_to_its_desktop(store: Shared) {
    let unknown = Err(StoreError::UnknownDesktop(uid("none")));
    let added = store
        .add_share(&share("none", "a"), &Token::random().hash())
        .await;
    assert_eq!(added, unknown);
    for takeover in [None, Some(&Takeover::default())] {
        assert_eq!(store.set_takeover(&uid("none"), takeover).await, unknown);
    }
    for name in ["one", "two"] {
        create(&*store, name, "firefox").await;
    }
    store
        .add_share(&share("one", "a"), &Token::random().hash())
        .await
        .unwrap();
    assert!(!store.delete_share(&uid("two"), "a").await.unwrap());
    assert_eq!(store.shares(&uid("one")).await.unwrap().len(), 1);
}

pub(crate) async fn shares_expire(store: Shared) {
    create(&*store, "one", "firefox").await;
    let kept = Share {
        expires: None,
        ..share("one", "kept")
    };
    store
        .add_share(&kept, &Token::random().hash())
        .await
        .unwrap();
    let token = Token::random();
    store
        .add_share(&share("one", "brief"), &token.hash())
        .await
        .unwrap();
    store.delete_expired_shares(at(999)).await.unwrap();
    assert!(store.share_by_token(&token.hash()).await.unwrap().is_some());
    store.delete_expired_shares(at(1_000)).await.unwrap();
    assert_eq!(store.share_by_token(&token.hash()).await.unwrap(), None);
    assert_eq!(store.shares(&uid("one")).await.unwrap(), [kept]);
}

pub(crate) async fn a_takeover_is_kept_until_it_is_lifted(store: Shared) {
    create(&*store, "one", "firefox").await;
    let spared = |name: &str| Takeover {
        except: Some(name.parse().unwrap()),
    };
    let all = [
        Some(Takeover::default()),
        Some(spared("the-page_1")),
        Some(spared("the-page_1@share")),
        None,
    ];
    for takeover in all {
        store
            .set_takeover(&uid("one"), takeover.as_ref())
            .await
            .unwrap();
        let stored = store.desktop(&uid("one")).await.unwrap().unwrap();
        assert_eq!(stored.takeover, takeover);
    }
}
