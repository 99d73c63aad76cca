// A server of HTTP/1.1 and, by prior knowledge, HTTP/2 without TLS. It prints its port, and a line for each request
// that it has answered: method, path, status. With the arguments `client ADDRESS COUNT http1|http2` the program sends
// requests to such a server instead, and prints the same for each response.
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
)

var output sync.Mutex

func tell(method, path string, status int) {
	output.Lock()
	defer output.Unlock()
	fmt.Println(method, path, status)
}

func answer(writer http.ResponseWriter, request *http.Request) {
	// The request's body is read, so that its connection can be used again.
	_, _ = io.Copy(io.Discard, request.Body)
	parts := strings.SplitN(strings.TrimPrefix(request.URL.Path, "/"), "/", 3)
	number := 0
	if len(parts) > 1 {
		number, _ = strconv.Atoi(parts[1])
	}
	status := http.StatusOK
	switch parts[0] {
	case "status":
		status = number
		writer.WriteHeader(status)
	case "bytes":
		writer.Header().Set("Content-Length", strconv.Itoa(number))
		_, _ = io.WriteString(writer, strings.Repeat("b", number))
	case "chunked":
		for ; number > 0; number -= 1000 {
			_, _ = io.WriteString(writer, strings.Repeat("c", min(number, 1000)))
			writer.(http.Flusher).Flush()
		}
		writer.Header().Set(http.TrailerPrefix+"X-Sum", "1")
	default:
		status = http.StatusNotFound
		writer.WriteHeader(status)
	}
	tell(request.Method, request.URL.Path, status)
}

func protocols() *http.Protocols {
	var both http.Protocols
	both.SetHTTP1(true)
	both.SetUnencryptedHTTP2(true)
	return &both
}

func serve() error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("listening", listener.Addr().(*net.TCPAddr).Port)
	server := http.Server{Handler: http.HandlerFunc(answer), Protocols: protocols()}
	return server.Serve(listener)
}

// ask sends requests of every kind, several at a time.
func ask(address string, count int, http2 bool) error {
	var only http.Protocols
	only.SetHTTP1(!http2)
	only.SetUnencryptedHTTP2(http2)
	client := http.Client{Transport: &http.Transport{Protocols: &only}}
	var all sync.WaitGroup
	failed := make(chan error, count)
	for number := range count {
		all.Go(func() {
			method, path := "GET", fmt.Sprintf("/bytes/%d", number*37)
			var body io.Reader
			switch number % 4 {
			case 1:
				method, path = "POST", fmt.Sprintf("/chunked/%d", number*11)
				body = io.MultiReader(strings.NewReader(strings.Repeat("u", number*91)))
			case 2:
				method, path = "HEAD", fmt.Sprintf("/bytes/%d", number)
			case 3:
				path = fmt.Sprintf("/status/%d", 400+number%100)
			}
			request, err := http.NewRequest(method, "http://"+address+path, body)
			if err != nil {
				failed <- err
				return
			}
			response, err := client.Do(request)
			if err != nil {
				failed <- err
				return
			}
			_, err = io.Copy(io.Discard, response.Body)
			if err != nil {
				failed <- err
			}
			_ = response.Body.Close()
			tell(method, path, response.StatusCode)
		})
	}
	all.Wait()
	client.CloseIdleConnections()
	close(failed)
	return <-failed
}

func main() {
	var err error
	if len(os.Args) == 5 && os.Args[1] == "client" {
		count, _ := strconv.Atoi(os.Args[3])
		err = ask(os.Args[2], count, os.Args[4] == "http2")
	} else {
		err = serve()
	}
	if err != nil {
		log.Fatal(err)
	}
}
