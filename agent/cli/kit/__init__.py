"""What the verbs share: the client of the socket, exits, arguments, printing."""
