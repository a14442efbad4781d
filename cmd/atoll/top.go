package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/atolldb/atoll/rpc/adminapi"
)

// topCommand shows what the namespaces use, again and again.
func (p *program) topCommand() *cobra.Command {
	var every time.Duration
	var by string
	var once bool
	var labels []string
	c := p.callingCommand("top", "Show what the namespaces use, live", cobra.NoArgs, nil, func(ctx context.Context, a *adminCall, _ []string) error {
		less, err := topOrder(by)
		if err != nil {
			return err
		}
		if every < 100*time.Millisecond || every > time.Hour {
			return fmt.Errorf("--every: %s is out of bounds: it takes 100ms to 1h", every)
		}
		out, _ := a.stdout.(*os.File)
		screen := out != nil && term.IsTerminal(int(out.Fd())) && a.text("output") != "json"
		for {
			if err := a.topOnce(ctx, labels, less, screen && !once); err != nil || once {
				return err
			}
			select {
			case <-ctx.Done():
				return nil // as asked
			case <-time.After(every):
			}
		}
	})
	c.Long = c.Short + `.

Keys and bytes are the primary's; connections, and the rates of the last second, are summed over the live
nodes. It goes on until it is interrupted.`
	c.Flags().DurationVar(&every, "every", 2*time.Second, "how long a picture stays, 100ms to 1h")
	c.Flags().StringVar(&by, "sort", "commands", "what the largest comes first of: name, keys, bytes, connections, commands, in or out")
	c.Flags().BoolVar(&once, "once", false, "one picture")
	c.Flags().StringArrayVar(&labels, "label", nil, "only namespaces with this label, KEY=VALUE; may be repeated")
	return c
}

func topOrder(by string) (func(x, y adminapi.Namespace) int, error) {
	of := map[string]func(*adminapi.NamespaceUsage) uint64{
		"keys":        func(u *adminapi.NamespaceUsage) uint64 { return orZero(u.Keys) },
		"bytes":       func(u *adminapi.NamespaceUsage) uint64 { return orZero(u.Bytes) },
		"connections": func(u *adminapi.NamespaceUsage) uint64 { return u.Connections },
		"commands":    func(u *adminapi.NamespaceUsage) uint64 { return u.CommandsPerSecond },
		"in":          func(u *adminapi.NamespaceUsage) uint64 { return u.InBytesPerSecond },
		"out":         func(u *adminapi.NamespaceUsage) uint64 { return u.OutBytesPerSecond },
	}
	byName := func(x, y adminapi.Namespace) int { return strings.Compare(x.Name, y.Name) }
	if by == "name" {
		return byName, nil
	}
	value, ok := of[by]
	if !ok {
		return nil, fmt.Errorf("--sort: %q is not one of name, keys, bytes, connections, commands, in and out", by)
	}
	return func(x, y adminapi.Namespace) int {
		return cmp.Or(cmp.Compare(value(y.Usage), value(x.Usage)), byName(x, y))
	}, nil
}

func orZero(v *uint64) uint64 {
	if v == nil {
		return 0
	}
	return *v
}

// topOnce prints one picture; on a screen, in the place of the last one.
func (a *adminCall) topOnce(ctx context.Context, labels []string, less func(x, y adminapi.Namespace) int, screen bool) error {
	ask, cancel := context.WithTimeout(ctx, a.duration("timeout"))
	defer cancel()
	list, err := a.used(ask, labels)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	slices.SortFunc(list, less)
	var picture strings.Builder
	shown := *a.program
	shown.stdout = &picture
	if screen {
		if _, height, err := term.GetSize(int(a.stdout.(*os.File).Fd())); err == nil && height > 3 && len(list) > height-3 {
			list = list[:height-3]
		}
		fmt.Fprintf(&picture, "\x1b[H\x1b[2J%s, %s\n", time.Now().Format(time.TimeOnly), a.text("admin-addr"))
	}
	t := &table{head: []string{"NAMESPACE", "STATE", "KEYS", "BYTES", "CONNECTIONS", "COMMANDS/S", "IN/S", "OUT/S", "LIMITED", "OVER"}}
	for _, n := range list {
		u := n.Usage
		t.add(n.Name, n.State, orZero(u.Keys), orZero(u.Bytes), u.Connections, u.CommandsPerSecond, u.InBytesPerSecond, u.OutBytesPerSecond, u.Limited, u.OverSoft)
	}
	if err := shown.print(a.config, list, t); err != nil {
		return err
	}
	_, err = io.WriteString(a.stdout, picture.String())
	return err
}

// used returns the namespaces with their use, the zero one where no node has told of any.
func (a *adminCall) used(ctx context.Context, labels []string) ([]adminapi.Namespace, error) {
	options := []adminapi.Option{adminapi.WithUsage()}
	for _, l := range labels {
		options = append(options, adminapi.WithLabel(l))
	}
	list, err := a.client.Namespaces(ctx, options...)
	for i := range list {
		if list[i].Usage == nil {
			list[i].Usage = &adminapi.NamespaceUsage{}
		}
	}
	return list, err
}
