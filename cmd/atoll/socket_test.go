package main

import (
	"context"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestListenSocket(t *testing.T) {
	dir, err := os.MkdirTemp("", "atoll-socket-") // a socket's path must be short, which t.TempDir's need not be
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	listen := func() (net.Listener, error) { return listenSocket(context.Background(), path, 0o770) }
	l, err := listen()
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(path); err != nil || info.Mode() != fs.ModeSocket|0o770 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if _, err := listen(); err == nil || !strings.Contains(err.Error(), "taken by another process") {
		t.Errorf("a socket that somebody listens on: %v", err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // as a killed process leaves it
	_ = l.Close()
	if _, err := os.Lstat(path); err != nil {
		t.Fatal(err)
	}
	if l, err = listen(); err != nil {
		t.Fatalf("a stale socket: %v", err)
	}
	_ = l.Close()
	if _, err := os.Lstat(path); err == nil {
		t.Error("the socket outlives its listener")
	}
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listen(); err == nil || !strings.Contains(err.Error(), "is not a socket") {
		t.Errorf("a file of another kind: %v", err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "precious" {
		t.Errorf("the file now holds %q, %v", text, err)
	}
}
