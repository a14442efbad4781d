package main

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/spf13/cobra"

	"github.com/atolldb/atoll/rpc/adminapi"
)

// healthCommand asks the listeners of this machine's node, so that a supervisor can.
func (p *program) healthCommand() *cobra.Command {
	keys := []string{configKey, "resp-addr", "resp-tls-addr", "resp-socket", "http-addr", "http-tls-cert", "timeout", "output"}
	c := p.command("health [server|meta|data]", "Exit with 0 if this machine's node is ready", cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs), keys,
		func(ctx context.Context, c *config, args []string) error {
			ctx, cancel := context.WithTimeout(ctx, c.duration("timeout"))
			defer cancel()
			what := "server"
			if len(args) > 0 {
				what = args[0]
			}
			if what != "data" {
				if err := checkHTTP(ctx, c); err != nil {
					return err
				}
			}
			if what != "meta" {
				if err := checkRESP(ctx, c); err != nil {
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

// checkHTTP asks this machine's node whether it is ready. As with Redis clients, its certificate need not be for this address.
func checkHTTP(ctx context.Context, c *config) error {
	addr := reachable(c.text("http-addr"))
	if c.text("http-tls-cert") != "" {
		addr = "https://" + addr
	}
	client, err := adminapi.NewClient(addr, "", adminapi.WithTLS(&tls.Config{InsecureSkipVerify: true})) // no token is sent
	if err != nil {
		return err
	}
	defer client.Close()
	return client.Ready(ctx)
}

// dialRESP connects to this machine's node by what asks least of a client: its socket, its plain port, or that
// with TLS. The node itself is what is asked after, so its certificate need not be for this address.
func dialRESP(ctx context.Context, c *config) (net.Conn, error) {
	var dialer net.Dialer
	if path := c.text("resp-socket"); path != "" {
		return dialer.DialContext(ctx, "unix", path)
	}
	if addr := c.text("resp-addr"); addr != "" {
		return dialer.DialContext(ctx, "tcp", reachable(addr))
	}
	private := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}} // a PING to this machine
	return private.DialContext(ctx, "tcp", reachable(c.text("resp-tls-addr")))
}

// checkRESP sends a PING. NOAUTH is an answer too, and so is the word that a certificate was asked for; LOADING
// says that the node isn't ready.
func checkRESP(ctx context.Context, c *config) error {
	addr := cmp.Or(c.text("resp-socket"), c.text("resp-addr"), c.text("resp-tls-addr"))
	conn, err := dialRESP(ctx, c)
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
	if op := new(net.OpError); errors.As(err, &op) && op.Op == "remote error" {
		return nil // a TLS alert, behind a handshake that was whole
	}
	if err != nil {
		return fmt.Errorf("ping %s: %w", addr, err)
	}
	line = strings.TrimSpace(line)
	if line != "+PONG" && !strings.HasPrefix(line, "-NOAUTH") {
		return fmt.Errorf("ping %s: %s", addr, strings.TrimPrefix(line, "-"))
	}
	return nil
}
