package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
)

// listenSocket listens on a unix socket. One that a dead process has left is replaced; one that somebody
// listens on, and a file of another kind, are refused. The listener removes the socket when it is closed.
func listenSocket(ctx context.Context, path string, mode fs.FileMode) (net.Listener, error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case info.Mode().Type() != fs.ModeSocket:
		return nil, fmt.Errorf("%s exists and is not a socket", path)
	default:
		if err := removeStale(ctx, path); err != nil {
			return nil, err
		}
	}
	// Until its mode is set, nobody else may connect.
	before := syscall.Umask(0o177)
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "unix", path)
	syscall.Umask(before)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, mode); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// removeStale removes a socket that nobody listens on.
func removeStale(ctx context.Context, path string) error {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", path)
	switch {
	case err == nil:
		_ = c.Close()
		return fmt.Errorf("%s is taken by another process", path)
	case !errors.Is(err, syscall.ECONNREFUSED): // e.g. a full backlog: somebody is there
		return fmt.Errorf("%s may be taken by another process: %w", path, err)
	}
	return os.Remove(path)
}
