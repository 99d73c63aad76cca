// A server and a client of gRPC in one process, without TLS. The client calls the health service, and prints a line for
// each call: the path of the gRPC method, and the status.
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

func run() error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	go func() {
		if err := server.Serve(listener); err != nil {
			log.Fatal(err)
		}
	}()
	connection, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	client := grpc_health_v1.NewHealthClient(connection)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for range 20 {
		for _, service := range []string{"", "unknown"} {
			_, err := client.Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: service})
			fmt.Println("/grpc.health.v1.Health/Check", int(status.Code(err)))
		}
		// Calls a service that does not exist.
		err := connection.Invoke(ctx, "/none.Service/Call", &grpc_health_v1.HealthCheckRequest{}, &grpc_health_v1.HealthCheckResponse{})
		fmt.Println("/none.Service/Call", int(status.Code(err)))
		// Opens a stream with several messages, which the client ends.
		streaming, stop := context.WithCancel(ctx)
		stream, err := client.Watch(streaming, &grpc_health_v1.HealthCheckRequest{})
		if err != nil {
			stop()
			return err
		}
		_, err = stream.Recv()
		fmt.Println("/grpc.health.v1.Health/Watch", int(status.Code(err)))
		stop()
		for err == nil {
			_, err = stream.Recv()
		}
	}
	if err := connection.Close(); err != nil {
		return err
	}
	server.GracefulStop()
	return nil
}

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}
