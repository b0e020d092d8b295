// Apps that tests add to the catalogue.

/** The tiny desktop with a home, as `keeper`. */
export const keeper = `
[app.keeper]
title = "A tiny desktop with a home"
description = "For files."
image = "cosage/tiny:latest"
pull = "never"
home = "/home/user"
password = true
memory = "256MiB"
sandbox = "user-namespaces"

[app.keeper.stream.vnc]
port = 5900
protocol = "rfb"
`;
