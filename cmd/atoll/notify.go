package main

import (
	"log/slog"

	"github.com/coreos/go-systemd/v22/daemon"
)

// notify tells a supervisor that asked by NOTIFY_SOCKET, as systemd does with Type=notify, how far this process is.
func notify(log *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("can't tell the supervisor", "state", state, "error", err)
	}
}
