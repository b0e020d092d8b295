// Defaults for every profile, the fixed part; what comes from the environment is in the profile.

// The last session's tabs come back, whatever way the last one ended: a desktop that nobody looks
// at is stopped, and that must cost nothing.
lockPref("browser.startup.page", 3);
lockPref("browser.sessionstore.resume_from_crash", true);
lockPref("browser.sessionstore.max_resumed_crashes", -1);
lockPref("toolkit.startup.max_resumed_crashes", -1);
pref("browser.sessionstore.interval", 5000);
pref("browser.sessionstore.interval.idle", 5000);
pref("browser.sessionstore.restore_on_demand", true);

// Quitting asks nobody, and closing the last tab leaves a window with a new one.
lockPref("browser.warnOnQuit", false);
lockPref("browser.warnOnQuitShortcut", false);
pref("browser.tabs.warnOnClose", false);
pref("browser.tabs.closeWindowWithLastTab", false);

// One window, always maximised: tabs rather than windows, and all of it for the page.
pref("browser.link.open_newwindow", 3);
pref("browser.link.open_newwindow.restriction", 0);
pref("browser.tabs.inTitlebar", 0);
pref("browser.toolbars.bookmarks.visibility", "never");

// Pages nobody asked for.
pref("browser.aboutConfig.showWarning", false);
pref("browser.aboutwelcome.enabled", false);
pref("browser.discovery.enabled", false);
pref("browser.startup.homepage_override.mstone", "ignore");
pref("browser.messaging-system.whatsNewPanel.enabled", false);
pref("datareporting.policy.dataSubmissionPolicyBypassNotification", true);
pref("network.connectivity-service.enabled", false);
pref("browser.tabs.firefox-view", false);
pref("sidebar.main.tools", "history,bookmarks");

// Scrolling in steps, because every step of a smooth scroll is a picture to encode for each viewer.
// (Without a graphics card Firefox takes its own software renderer by itself.)
pref("general.smoothScroll", false);

// Memory: the processes that Firefox keeps ready for pages that may never be opened.
pref("dom.ipc.processPrelaunch.enabled", false);
pref("dom.ipc.processCount", 4);
pref("browser.sessionhistory.max_total_viewers", 2);
pref("browser.tabs.unloadOnLowMemory", true);

// A screen reader cannot hear through a VNC stream; without this Firefox looks for one on D-Bus.
pref("accessibility.force_disabled", 1);

// The language that LANG says, for Firefox itself and for what pages are asked for.
pref("intl.locale.requested", "");
