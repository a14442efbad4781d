package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"

	"github.com/spf13/cobra"

	"github.com/atolldb/atoll/rpc/adminapi"
)

// healthCommand asks the listeners of this machine's node, so that a supervisor can.
func (p *program) healthCommand() *cobra.Command {
	keys := []string{configKey, "resp-addr", "http-addr", "timeout", "output"}
	c := p.command("health [server|meta|data]", "Exit with 0 if this machine's node is ready", cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs), keys,
		func(ctx context.Context, c *config, args []string) error {
			ctx, cancel := context.WithTimeout(ctx, c.duration("timeout"))
			defer cancel()
			what := "server"
			if len(args) > 0 {
				what = args[0]
			}
			if what != "data" {
				if err := checkHTTP(ctx, reachable(c.text("http-addr"))); err != nil {
					return err
				}
			}
			if what != "meta" {
				if err := checkRESP(ctx, reachable(c.text("resp-addr"))); err != nil {
					return err
				}
			}
			if c.text("output") == "json" {
				return p.print(c, adminapi.Health{Status: "ok"}, nil)
			}
			fmt.Fprintln(p.stdout, "ok")
			return nil
		})
	c.ValidArgs = []string{"server", "meta", "data"}
	return c
}

// reachable turns an address that listens everywhere into one that can be dialled.
func reachable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err == nil && (host == "" || ip != nil && ip.IsUnspecified()) {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return addr
}

func checkHTTP(ctx context.Context, addr string) error {
	client, err := adminapi.NewClient(addr, "")
	if err != nil {
		return err
	}
	defer client.Close()
	return client.Ready(ctx)
}

// checkRESP sends a PING. NOAUTH is an answer too; LOADING says that the node isn't ready.
func checkRESP(ctx context.Context, addr string) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("ping %s: %w", addr, err)
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return fmt.Errorf("ping %s: %w", addr, err)
		}
	}
	if _, err := conn.Write([]byte("*1\r\n$4\r\nPING\r\n")); err != nil {
		return fmt.Errorf("ping %s: %w", addr, err)
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return fmt.Errorf("ping %s: %w", addr, err)
	}
	line = strings.TrimSpace(line)
	if line != "+PONG" && !strings.HasPrefix(line, "-NOAUTH") {
		return fmt.Errorf("ping %s: %s", addr, strings.TrimPrefix(line, "-"))
	}
	return nil
}
