// The one identity of the application: the functions host uses it for storage, and the app registrations trust it in place of a
// client secret (their federated credentials name its principal id). Only a user-assigned identity can be trusted that way.

param name string
param location string
param tags object

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: name
  location: location
  tags: tags
}

output id string = identity.id
output clientId string = identity.properties.clientId
output principalId string = identity.properties.principalId
