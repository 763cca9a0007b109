"""moto's server as a lab's EC2, where an address that is assigned leaves the interface that had it, as in EC2."""

from itertools import count

from moto.ec2.models import elastic_network_interfaces as interfaces
from moto.ec2.models.elastic_network_interfaces import NetworkInterfaceBackend
from moto.server import main

# One that is started again gives interfaces that are made again their old names, which all notifiers have, whoever asks it meanwhile.
numbers = count(1)
interfaces.random_eni_id = lambda: f"eni-{next(numbers):017x}"

assign = NetworkInterfaceBackend.assign_private_ip_addresses


def reassign(self, eni_id, private_ip_addresses=None, secondary_ips_count=None):
    subnet = self.get_network_interface(eni_id).subnet.id
    for other in self.enis.values():
        if other.id != eni_id and other.subnet.id == subnet:
            self.unassign_private_ip_addresses(other.id, private_ip_addresses)
    return assign(self, eni_id, private_ip_addresses, secondary_ips_count)


NetworkInterfaceBackend.assign_private_ip_addresses = reassign
main()
