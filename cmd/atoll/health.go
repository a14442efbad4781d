package main

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"

	"github.com/spf13/cobra"

	"github.com/atolldb/atoll/rpc/adminapi"
)

// healthCommand asks the listeners of this machine's node, so that a supervisor can.
func (p *program) healthCommand() *cobra.Command {
	keys := []string{configKey, "resp-addr", "resp-tls-addr", "resp-tls-cert", "resp-tls-key", "http-addr", "timeout", "output"}
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

func checkHTTP(ctx context.Context, addr string) error {
	client, err := adminapi.NewClient(addr, "")
	if err != nil {
		return err
	}
	defer client.Close()
	return client.Ready(ctx)
}

// dialRESP connects to the plain port of this machine's node or, where it has none, to that with TLS. The node
// itself is what is asked after, so its certificate need not be for this address; it is shown as the client's.
func dialRESP(ctx context.Context, c *config) (net.Conn, error) {
	if addr := c.text("resp-addr"); addr != "" {
		var dialer net.Dialer
		return dialer.DialContext(ctx, "tcp", reachable(addr))
	}
	conf := &tls.Config{InsecureSkipVerify: true} // a PING to this machine
	if cert, key := c.text("resp-tls-cert"), c.text("resp-tls-key"); cert != "" && key != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, err
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	dialer := tls.Dialer{Config: conf}
	return dialer.DialContext(ctx, "tcp", reachable(c.text("resp-tls-addr")))
}

// checkRESP sends a PING. NOAUTH is an answer too; LOADING says that the node isn't ready.
func checkRESP(ctx context.Context, c *config) error {
	addr := cmp.Or(c.text("resp-addr"), c.text("resp-tls-addr"))
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
	if err != nil {
		return fmt.Errorf("ping %s: %w", addr, err)
	}
	line = strings.TrimSpace(line)
	if line != "+PONG" && !strings.HasPrefix(line, "-NOAUTH") {
		return fmt.Errorf("ping %s: %s", addr, strings.TrimPrefix(line, "-"))
	}
	return nil
}
