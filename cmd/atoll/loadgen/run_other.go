//go:build !linux

package loadgen

import (
	"context"
	"errors"
)

func (l *Load) run(context.Context) (*Result, error) {
	return nil, errors.New("load is put on from Linux only: it needs epoll")
}
