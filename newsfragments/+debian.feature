A Debian package: ``packaging/debian/build`` makes it from a clone, with units, user, manual pages and completion. ``packaging/debian/try``
installs, starts, kills, upgrades, removes and purges it under a systemd of its own. docs/install.rst has all ways to install.
