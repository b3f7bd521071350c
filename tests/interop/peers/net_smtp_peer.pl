# Sends a message with Net::SMTP for each pair of addresses on standard input:
# sender, a bar, recipient. They go to the wire as they are.
use strict;
use warnings;
use Net::SMTP;

my ($port) = @ARGV;
while (my $line = <STDIN>) {
    chomp $line;
    my ($from, $to) = split /\|/, $line, 2;
    my $client = Net::SMTP->new(
        '127.0.0.1',
        Port           => $port,
        Hello          => 'under_score.example',
        ExactAddresses => 1,
        Timeout        => 30,
    ) or die "No session: $@";
    $client->mail($from) or die "$from: " . $client->message;
    $client->to($to)     or die "$to: " . $client->message;
    $client->data();
    # Its lines end with LF until Net::Cmd makes CRLF of them.
    $client->datasend("Subject: Net::SMTP\n\n.one dot\n.\nText\n");
    $client->dataend() or die $client->message;
    $client->quit;
}
