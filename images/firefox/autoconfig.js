// Firefox reads cosage.cfg as a script of its own, and not as a list of preferences only.
pref("general.config.filename", "cosage.cfg");
pref("general.config.obscure_value", 0);
pref("general.config.sandbox_enabled", false);
