//go:build !linux

package resp

import "errors"

// Without epoll every connection has a goroutine.
type (
	loop       struct{}
	loopTenant struct{}
)

func newLoops(*Server) []*loop { return nil }

func closeLoops([]*loop) {}

func (c *conn) park() bool { return false }

func (*loop) post(*conn) {}

func (c *conn) readParked([]byte) (int, error) { return 0, errors.ErrUnsupported }

func (c *conn) hangParked() {}

// gone reports nothing: a command that waits without end ends with the node, or the connection.
func (c *conn) gone() bool { return false }

// watchPeer watches nothing, for the same reason.
func (c *conn) watchPeer() func() { return func() {} }
