// The app settings: all that the code reads, and what the functions host and App Service need. tests/infra compares them with
// shared/settings.py.

param appName string

@description('What the operator sets: app settings by name.')
param operatorSettings object

@description('Address of the console; empty: the function app\'s own.')
param publicUrl string

param identityClientId string
param sealingKeyUri string
param verdictKeyUri string
param blobEndpoint string
param queueEndpoint string
param tableEndpoint string
param insightsConnectionString string

@description('What only the Premium plan needs; empty on Flex Consumption, which refuses such settings.')
param planSettings object

resource app 'Microsoft.Web/sites@2024-04-01' existing = {
  name: appName
}

var ownSettings = {
  GRANTLINE_PUBLIC_URL: empty(publicUrl) ? 'https://${app.properties.defaultHostName}' : publicUrl
  GRANTLINE_MANAGED_IDENTITY_CLIENT_ID: identityClientId
  GRANTLINE_SEALING_KEY: '@Microsoft.KeyVault(SecretUri=${sealingKeyUri})'
  GRANTLINE_VERDICT_KEY: '@Microsoft.KeyVault(SecretUri=${verdictKeyUri})'
}
var platformSettings = {
  AzureWebJobsStorage__blobServiceUri: blobEndpoint
  AzureWebJobsStorage__queueServiceUri: queueEndpoint
  AzureWebJobsStorage__tableServiceUri: tableEndpoint
  AzureWebJobsStorage__credential: 'managedidentity'
  AzureWebJobsStorage__clientId: identityClientId
  APPLICATIONINSIGHTS_CONNECTION_STRING: insightsConnectionString
  APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identityClientId};Authorization=AAD'
  // App Service Authentication signs operators in with the identity's assertion in place of a client secret.
  OVERRIDE_USE_MI_FIC_ASSERTION_CLIENTID: identityClientId
}

resource settings 'Microsoft.Web/sites/config@2024-04-01' = {
  parent: app
  name: 'appsettings'
  properties: union(operatorSettings, ownSettings, platformSettings, planSettings)
}

output publicUrl string = ownSettings.GRANTLINE_PUBLIC_URL
